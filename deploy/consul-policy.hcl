# What a tile38cm manager may do in Consul; nothing else is needed, also with default_policy = "deny".
#
#   consul acl policy create -name tile38cm -rules @consul-policy.hcl
#   consul acl token create -policy-name tile38cm
#
# Change the names if --consul.lock.prefix, --service.name.leader or --service.name.follower differ.

# The leader's lock, the status document, the history of epochs, the members.
key_prefix "_locks/tile38/cluster/manager" {
  policy = "write"
}

# Own sessions on the local node. Put the node's name in place of the empty prefix to allow no others.
session_prefix "" {
  policy = "write"
}

# Registration, certificates of Connect, and asking whether an intention allows a peer.
service "tile38-writer" {
  policy = "write"
}
service "tile38-reader" {
  policy = "write"
}

# Discovery: without node:read lists of services look empty instead of failing.
node_prefix "" {
  policy = "read"
}

# What the local agent says of itself.
agent_prefix "" {
  policy = "read"
}
