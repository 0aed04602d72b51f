"""The firewall: policy, rules, and what they say of a packet."""
