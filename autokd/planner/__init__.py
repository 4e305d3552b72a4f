"""``autokd auto``: from a folder of pictures to a student, in a budget.

A planner that writes documents, and no engine of its own: ``look`` at the pictures, ``candidates``
measures students on this machine, ``plan`` chooses and ``documents`` writes ``base.yaml`` and
``space.yaml`` with the reason of each choice, and ``auto`` runs the ordinary search on them,
keeping the best student so far in a folder, and exports the winner.
"""
