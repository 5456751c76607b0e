"""Holds posts against the policy checks.

owns     what the checks need to know of a post (`inspector.py`), what they may be set to (`settings.py`), prices by setting (`prices.py`)
never    changes a text; decides what a rule says, which is `domain/policy/`; asks the database once a post where a batch would do
called   by `domain/making.py` before a post is stored, by `publishing/policing.py` before it is sent
"""
