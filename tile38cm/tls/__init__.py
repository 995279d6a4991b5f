"""Mutual TLS for W, R and towards peers.

- L{mesh}: what the node uses: wraps listeners and endpoints, tells who a peer is, waits for certificates
- L{doors}: listeners and endpoints with TLS, made of a door and an entrance
- L{transport}: a connection over TLS, with few calls for each packet
- L{entrance}: what stands behind TLS until the peer is known and allowed; then it is gone
- L{identity}: who a certificate speaks for: SPIFFE ids of the mesh, or the cluster's own name in files
- L{intentions}: whether an intention lets a service in, asked through the agent and remembered briefly
- L{material}: certificates, key and roots, and the OpenSSL context made of them
- L{keyring}: what each service presents now, and since when it should have been renewed
- L{connect}: keeps the keyring fresh from Consul's Connect CA
- L{files}: keeps the keyring fresh from three files
- L{partners}: what is needed of a Consul client

Flow: C{connect} or C{files} puts material on the keyring; each new handshake takes
the context that lies there at that moment, so that renewals and rotations of roots
need no restart and leave open connections alone.  After a handshake the entrance
reads the peer's identity, asks for intentions, and only then makes the protocol.
"""

from tile38cm.tls.mesh import IMesh, Mesh, PlainMesh, mesh_for

__all__ = ["IMesh", "Mesh", "PlainMesh", "mesh_for"]
