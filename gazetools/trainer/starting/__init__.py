"""`train --init`: look at somebody's data and write a config for them."""
