"""Workers in parallel: tasks to slots, processes on this machine, and the messages between them."""
