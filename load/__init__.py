"""Load: what clients do (workloads), how they do it, and the drivers that let many do it at once.

Nothing here but `locustfile.py` imports Locust, for importing it patches every socket.
"""
