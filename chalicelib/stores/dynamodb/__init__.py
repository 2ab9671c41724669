"""A DynamoDB table as the flag store."""
