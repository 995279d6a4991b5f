"""C{tile38ctl}: an operator's command line, which runs beside no node and owns none.

- L{commands<tile38cm.operate.ctl.commands>}: the table of sub-commands, and what runs them
- L{options<tile38cm.operate.ctl.options>}: options that several sub-commands share
- L{status<tile38cm.operate.ctl.status>}: C{status}, from what L{cluster<tile38cm.operate.ctl.cluster>} reads
- L{requests<tile38cm.operate.ctl.requests>}: C{switchover}, C{shrink}, C{failover}, which ask the cluster;
  L{loss<tile38cm.operate.ctl.loss>}: what a forced failover would lose
- L{consul_http<tile38cm.operate.ctl.consul_http>}: a small client of Consul
- L{contents<tile38cm.operate.ctl.contents>}: C{compare}
- L{tails<tile38cm.operate.ctl.tails>}: C{tail list}, C{tail show}, C{tail replay}

It blocks, and needs no reactor.  Exit codes are the same everywhere: 0 all is well, 1 the
answer is no, 2 wrong usage, 3 it could not be found out, or not be done.
"""
