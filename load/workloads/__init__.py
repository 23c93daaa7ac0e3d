"""Workloads of the reference service, one file each.

| operation kind | who acts | params | amount |
|---|---|---|---|
| `create-user` | admin | – (`user` is to have the token `user_secret`) | – |
| `fund` | admin | `reference` (the wallet is `user`'s) | deposit |
| `await-job` | user | `job` | – |
| `create-investment` | user | `instrument` | investment |
| `execute-investment` | user | `investment` | investment |
| `cancel-investment` | user | `investment` | investment |
| `distribute-dividends` | admin | `investment`, `event` (and `instrument`, for the oracle) | sum |
| `read-investment` | user | `investment` | – |
| `read-wallet` | user | – | – |

Replies are expected to teach `job` (fund, execute-investment, distribute-dividends) and
`investment` (create-investment).
"""
