# Who may connect to R: "consul config write consul-intentions-reader.hcl"
Kind = "service-intentions"
Name = "tile38-reader"

Sources = [
  # The managers of the other nodes, on behalf of their readers.
  {
    Name   = "tile38-writer"
    Action = "allow"
  },
  # Applications that read.
  {
    Name   = "my-application"
    Action = "allow"
  },
  {
    Name   = "*"
    Action = "deny"
  },
]
