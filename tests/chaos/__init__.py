"""A cluster under random faults, and what must hold all the same.

C{python -m tests.chaos --minutes 10 --seed N}.  Real Consul, real Tile38, a
process for each manager; links between nodes that can be cut or slowed.
With C{--lifetimes} a lifetime that was lengthened or ended must stay so on
every node; without it objects that may expire are load only.

 - C{options}: what a run is told
 - C{links}: relays in place of the network, so that no privileges are needed
 - C{world}: the nodes and Consul as processes, behind those relays
 - C{faults}: what can be done to a world, and undone
 - C{history}: what clients asked and heard, and the rules for it (pure)
 - C{clients}: who writes it
 - C{gates}: when which gate was open, out of the managers' logs (pure)
 - C{contents}: what every node holds in the end
 - C{run}: one run from start to verdict
"""
