"""From records to features: fitted with scikit-learn, frozen into constants, saved as arrays."""
