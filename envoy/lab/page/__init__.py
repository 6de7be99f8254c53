"""The page: a crowd of users, each a cell in its version's colour, asked through Envoy again and again.

``python -m lab.page --envoy URL --admin URL --filter FILE --canary URL`` serves it. `make page` and
`compose.yaml` run this same command. From the inside out:

========== ==============================================================================
``live``   the live `filter.yaml`: read, changed, in force
``crowd``  the users: asked, counted, seen to move
``watch``  what the proxy says of the versions: in force, held out
``server`` the page itself, its buttons and its stream of events
``static`` HTML, CSS and JavaScript as they are
========== ==============================================================================
"""
