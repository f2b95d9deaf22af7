"""What tests of several rooms use: hosts, servers, databases, archives, people."""
