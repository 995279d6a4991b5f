"""What runs and tests a cluster on one machine; no part of a running manager.

A Consul without Consul:

- C{consul}: an HTTP agent that answers as Consul does, over the next five
- C{consul_keys}: keys, locks, sessions, transactions
- C{consul_services}: services, checks and their health
- C{consul_connect}: certificates, their rotation, intentions
- C{consul_json}: the names that Consul's JSON gives to all these
- C{consul_changes}: the index and the queries that block on it
- C{agent}: C{python -m tile38cm.dev.agent}, the same in a process of its own

A Tile38 without Tile38:

- C{tile38}: a node that answers as Tile38 does; C{python -m tile38cm.dev.tile38}

A cluster:

- C{cluster}: one Consul, and a Tile38 and a manager for each node
- C{processes}: the programs as children of this process
- C{fixtures}: it as a fixture of pytest
- C{run}: C{make run}; C{show}: what a person sees of it; C{fleet}: sample data that moves
- C{client}: commands to a port
"""
