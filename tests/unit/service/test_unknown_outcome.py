"""What is said of a COMMIT whose outcome is unknown when the way to look is barred, too."""

import pytest
from investment import db
from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import QueuePool


def test_a_pool_that_ran_dry_leaves_the_outcome_unknown() -> None:
    engine = create_engine(
        "sqlite://", poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=0.05
    )

    def work(_connection: Connection) -> bool:
        raise db.CommitOutcomeUnknown

    def read_back(_connection: Connection) -> bool:
        with engine.connect():  # the only one is taken
            return True

    with pytest.raises(db.CommitOutcomeUnknown):
        db.run_with_read_back(engine, work, read_back=read_back, step="test")
