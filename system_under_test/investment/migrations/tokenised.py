"""Move sensitive columns into the vault, and back."""


def upgrade() -> None:
    """Filled in by the vault's owner."""


def downgrade() -> None:
    """Filled in by the vault's owner."""
