"""The rim: requests taken apart, answers put together. Knows the read path; knows no store and no refresh."""
