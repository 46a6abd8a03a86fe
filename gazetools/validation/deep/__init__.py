"""`validate --deep`: sampled frames decoded again and compared with what is stored."""
