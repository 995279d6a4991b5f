# Who may connect to W: "consul config write consul-intentions-writer.hcl"
Kind = "service-intentions"
Name = "tile38-writer"

Sources = [
  # The managers of the other nodes come with this identity: without this line there is no replication.
  {
    Name   = "tile38-writer"
    Action = "allow"
  },
  # Applications that write.
  {
    Name   = "my-application"
    Action = "allow"
  },
  {
    Name   = "*"
    Action = "deny"
  },
]
