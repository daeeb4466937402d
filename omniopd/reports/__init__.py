"""What people see of runs: figures, tables, pages."""
