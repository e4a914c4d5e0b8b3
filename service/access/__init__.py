"""Who may do what: keys, roles, and what each path asks for."""
