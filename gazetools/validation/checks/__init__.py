"""The checks of `validate`, each on one video or across videos."""
