"""The docks: each turns what a user does into a job, and what the job finds into layers."""
