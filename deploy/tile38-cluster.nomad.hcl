# Three nodes on Nomad: in each allocation one Tile38 and its manager share a network of their own.
#
# A node is named after its allocation, so that two never share a name, not even during an update.  The data are
# on the allocations' own disks: they live as long as one node of the sync set does.  After the whole job has been
# stopped a new one finds the keys of nodes that are gone, and waits for them; if the data are not wanted any more:
#
#   consul kv delete -recurse _locks/tile38/cluster/manager

job "tile38-cluster" {
  datacenters = ["dc1"]
  type        = "service"

  # One at a time: each new node has caught up before the next old one goes.
  update {
    max_parallel      = 1
    health_check      = "checks"
    min_healthy_time  = "15s"
    healthy_deadline  = "10m"
    progress_deadline = "30m"
  }

  migrate {
    max_parallel     = 1
    min_healthy_time = "15s"
    healthy_deadline = "10m"
  }

  group "node" {
    count = 3

    constraint {
      operator = "distinct_hosts"
      value    = "true"
    }

    ephemeral_disk {
      size = 10000 # MB
    }

    network {
      mode = "bridge"

      # The same number inside and outside, since the advertised address has to work for other nodes.
      port "writer" {
        to = -1
      }

      port "reader" {
        to = -1
      }
    }

    # With these two blocks Nomad registers W and R, and the manager does not (no SERVICE_MANAGE).
    service {
      name = "tile38-writer"
      port = "writer"
      task = "manager"

      connect {
        native = true
      }

      # The managers find each other by this.
      meta {
        id = "${NOMAD_ALLOC_ID}"
      }

      check {
        name     = "W takes connections"
        type     = "tcp"
        port     = "writer"
        interval = "15s"
        timeout  = "3s"
      }
    }

    service {
      name = "tile38-reader"
      port = "reader"
      task = "manager"

      connect {
        native = true
      }

      meta {
        id = "${NOMAD_ALLOC_ID}"
      }

      check {
        name     = "R takes connections"
        type     = "tcp"
        port     = "reader"
        interval = "15s"
        timeout  = "3s"
      }
    }

    # Started before the manager and stopped after it: a manager that stops hands over, and needs its Tile38 for it.
    task "tile38" {
      driver = "docker"

      lifecycle {
        hook    = "prestart"
        sidecar = true
      }

      config {
        image   = "tile38/tile38:1.37.0"
        command = "tile38-server"
        # Loopback of the shared network: nobody but the manager reaches it.
        args = ["-h", "127.0.0.1", "-p", "9851", "-d", "/alloc/data/tile38"]
      }

      kill_timeout = "60s"

      resources {
        cpu    = 1000
        memory = 2048
      }
    }

    task "manager" {
      driver = "docker"

      config {
        image = "tile38cm:latest" # docker build -f deploy/Dockerfile -t tile38cm .
      }

      env {
        SERVICE_ID          = "${NOMAD_ALLOC_ID}"
        ADVERTISE           = "${attr.unique.network.ip-address}"
        SERVER_PORT         = "9851"
        BIND_PORT_LEADER    = "${NOMAD_PORT_writer}"
        BIND_PORT_FOLLOWER  = "${NOMAD_PORT_reader}"
        STATE_DIRECTORY     = "/alloc/data/tile38cm"
        TILE38CM_EXPECT     = "3"
        TILE38CM_LOG_FORMAT = "json"

        # CONSUL_HTTP_ADDR and CONSUL_HTTP_TOKEN are set by Nomad for a Connect-native task.
      }

      kill_signal  = "SIGTERM"
      kill_timeout = "30s"

      resources {
        cpu    = 500
        memory = 512
      }
    }
  }
}
