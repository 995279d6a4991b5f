"""What runs and tests a cluster without other programs; no part of a running manager.

- C{consul}: an HTTP agent that answers as Consul does, over the next five
- C{consul_keys}: keys, locks, sessions, transactions
- C{consul_services}: services, checks and their health
- C{consul_connect}: certificates, their rotation, intentions
- C{consul_json}: the names that Consul's JSON gives to all these
- C{consul_changes}: the index and the queries that block on it
"""
