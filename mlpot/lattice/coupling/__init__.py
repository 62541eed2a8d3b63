"""The Boltzmann relation between a sequence model and an extensive energy: E(s) = -T0 ln p(s) + C."""
