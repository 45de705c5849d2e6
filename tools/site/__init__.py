"""What the documentation site takes from the code when it is built: reference pages and state diagrams."""
