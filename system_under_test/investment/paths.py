"""Where the API's resources are."""

PREFIX = "/api/v1/investment"
