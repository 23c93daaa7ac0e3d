"""The words of stormproof as types. Imports nothing else of ours; everything else imports it."""
