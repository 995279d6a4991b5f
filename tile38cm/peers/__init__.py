"""The private conversation between managers, on the same port as W.

  - C{messages}: what is said, as arrays of byte strings; pure
  - C{connection}: one such conversation as a Protocol, either side
  - C{accept}: the listening side: greets, checks, hands over by purpose
  - C{dial}: the calling side
  - C{heartbeats}: heartbeats and promises, both sides

A connection whose first command is C{TILE38CM HELLO} is a peer's.  Over TLS
the certificate of the writer service proves membership; without TLS each side
proves that it knows the cluster's secret.  After that the caller names one
purpose: C{FORWARD} (its clients' requests), C{POSITION}, C{HEARTBEAT} or
C{BRIDGE}.
"""
