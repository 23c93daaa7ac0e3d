"""The reference investment service and the simulated partner that it trades with."""
