"""The vault opens what it sealed, at its own place and with its own keys, and nothing else."""

import hashlib
import os
from base64 import b64encode
from dataclasses import replace
from uuid import uuid4

import pytest
from investment.vault import Place, UndecryptableError, Vault, VaultKeysError, kid_of

OLD, NEW, INDEX = (b64encode(os.urandom(32)).decode() for _ in range(3))
PLACE = Place("account-number", uuid4(), str(uuid4()))
VALUE = "DE02120300000000202051"


@pytest.fixture
def vault() -> Vault:
    return Vault(f"new:{NEW},old:{OLD}", INDEX)


def test_what_was_sealed_opens_and_is_not_in_the_record(vault: Vault) -> None:
    for value in (VALUE, "", "Grüße 🌍 \x00", "x" * 20_000):
        sealed = vault.seal(value, PLACE)
        assert vault.open(sealed, PLACE) == value
        assert not value or value.encode() not in sealed
        assert kid_of(sealed) == "new"


def test_equal_values_have_nothing_in_common(vault: Vault) -> None:
    records = [vault.seal(VALUE, PLACE) for _ in range(500)]
    start = 2 + len("new")
    for begin, end in ((start, start + 12), (start + 12, start + 60), (start + 60, start + 72)):
        assert len({record[begin:end] for record in records}) == len(records)


@pytest.mark.parametrize("part", ["purpose", "token", "subject_id"])
def test_a_record_at_another_place_does_not_open(vault: Vault, part: str) -> None:
    other = {"purpose": "partner-auth", "token": uuid4(), "subject_id": str(uuid4())}
    sealed = vault.seal(VALUE, PLACE)
    with pytest.raises(UndecryptableError, match="changed or moved"):
        vault.open(sealed, replace(PLACE, **{part: other[part]}))


def test_no_changed_byte_goes_unnoticed(vault: Vault) -> None:
    sealed = vault.seal(VALUE, PLACE)
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        with pytest.raises(UndecryptableError):
            vault.open(bytes(changed), PLACE)
    for length in range(len(sealed)):
        with pytest.raises(UndecryptableError):
            vault.open(sealed[:length], PLACE)


def test_the_data_keys_of_two_records_cannot_be_exchanged(vault: Vault) -> None:
    one, two = vault.seal(VALUE, PLACE), vault.seal("another", PLACE)
    head = 2 + len("new") + 60
    with pytest.raises(UndecryptableError):
        vault.open(one[:head] + two[head:], PLACE)


def test_rotation_changes_the_wrapping_and_not_the_value(vault: Vault) -> None:
    only_old, only_new = Vault(f"old:{OLD}", INDEX), Vault(f"new:{NEW}", INDEX)
    before = only_old.seal(VALUE, PLACE)
    after = vault.rewrap(before, PLACE)
    assert (kid_of(before), kid_of(after)) == ("old", "new")
    assert before[-40:] == after[-40:]
    assert only_new.open(after, PLACE) == VALUE
    for lacking, sealed in ((only_new, before), (only_old, after)):
        with pytest.raises(UndecryptableError, match="lacks that key"):
            lacking.open(sealed, PLACE)
    with pytest.raises(UndecryptableError):
        vault.rewrap(before[:-1] + b"?", PLACE)


def test_the_same_name_with_another_key_does_not_open(vault: Vault) -> None:
    sealed = vault.seal(VALUE, PLACE)
    with pytest.raises(UndecryptableError):
        Vault(f"new:{OLD}", INDEX).open(sealed, PLACE)


def test_a_blind_index_needs_its_key_and_belongs_to_one_purpose(vault: Vault) -> None:
    index = vault.blind_index("deposit-reference", VALUE)
    assert index == vault.blind_index("deposit-reference", VALUE)
    assert len(index) == 32
    other_key = Vault(f"new:{NEW}", OLD).blind_index("deposit-reference", VALUE)
    assert len({index, other_key, vault.blind_index("account-number", VALUE),
                hashlib.sha256(VALUE.encode()).digest()}) == 4  # fmt: skip


@pytest.mark.parametrize(
    ("keys", "index_key", "value"),
    [
        ("", INDEX, "INVESTMENT_VAULT_KEYS"),
        (NEW, INDEX, "INVESTMENT_VAULT_KEYS"),
        (f"new:{NEW},", INDEX, "key 2"),
        (f"new:{NEW},new:{OLD}", INDEX, "used twice"),
        (f"new:{NEW[:-5]}!====", INDEX, "not base64"),
        (f"new:{b64encode(b'short').decode()}", INDEX, "5 bytes"),
        (f"new:{NEW}", "", "INVESTMENT_VAULT_INDEX_KEY"),
        (f"new:{NEW}", INDEX[:-4], "INVESTMENT_VAULT_INDEX_KEY"),
    ],
    ids=["none", "no id", "empty", "twice", "not base64", "short", "no index", "short index"],
)
def test_unusable_keys_are_named_and_not_shown(keys: str, index_key: str, value: str) -> None:
    with pytest.raises(VaultKeysError) as raised:
        Vault(keys, index_key)
    message = str(raised.value)
    assert value in message
    assert "comes from the environment; set it to" in message
    assert all(key[:8] not in message for key in (NEW, OLD, INDEX))
