"""What an operator may say, and where: one table, from which everything else is made.

 - L{tile38cm.flags.values}: text to values; each parser knows what it allows
 - L{tile38cm.flags.table}: the flags: name, environment variable, default, help
 - L{tile38cm.flags.sources}: command line, then environment, then file, then default
 - L{tile38cm.flags.checks}: what values must keep among each other; makes L{tile38cm.settings.Settings}
 - L{tile38cm.flags.pages}: the table as C{--help}, as C{--check} and as reStructuredText

Everything that is wrong with a value is a L{tile38cm.flags.values.WrongValue}: one
sentence that names where the value came from, the value, and what is allowed.
"""
