"""Who leads, and the Consul that it is settled in.

Consul, as seen by one client of the local agent:

- C{consul}: the client, one coroutine a request; hands on all names of the next
- C{consul_values}: keys, transactions, services, certificates, errors, as frozen values
- C{consul_wire}: how answers are judged and read; no I/O
- C{consul_agent}: one HTTP request to the agent, bounded in time and size
- C{watch}: a blocking query for ever, telling of changes only

The election:

- C{election}: one member's part, as a machine (C{roles}) over its data (C{member}, C{term});
  C{office}: what a leader does meanwhile
- C{promises}, C{status}, C{survey}: the rules, pure
- C{cluster}: who is there, from the catalog and from the members' own keys
- C{store}: what a member writes into Consul
- C{secret}: by what nodes without certificates know each other

A watch asks through the client and hands values upward by the callable that it
was given; what they mean is decided by the election.
"""
