"""What tests of several folders share: real database servers and real migrations."""
