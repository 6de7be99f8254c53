"""The lab: a real Envoy with the Cohort filter, services behind it and users in front of it.

One package for the demo (``make demo``), for the tests on a real Envoy (``tests/proxy``) and for the
benchmarks. From the inside out:

============== ==========================================================================
``process``    child processes that end with us
``until``      waiting for an event, with a name and a deadline
``bootstrap``  the committed ``envoy.yaml`` and ``filter.yaml`` with other ports, addresses and paths
``envoy``      a running Envoy: its ports, its configuration in force, its metrics, its log
``upstream``   a small service whose behaviour can be changed while it runs (a process of its own)
``service``    the handle on such a process
``client``     users: everybody asked once, or a steady load
``visitors``   people with browsers, who keep their cookies and have sessions
``platform``   what a platform does: readiness, endpoints, SIGTERM
``wire``       single requests whose bytes we choose, over HTTP/1.1 and HTTP/2
``arithmetic`` where a user belongs, computed without Cohort's code
``show``       what a person sees: plain text where there is no terminal
``stage``      services + Envoy + load + closing figures: what a scenario plays on
``scenarios``  one module for each way to release
``page``       who gets what, in a browser (a process of its own)
============== ==========================================================================
"""
