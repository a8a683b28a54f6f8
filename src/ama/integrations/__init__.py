"""Ways from other tools into ama, without logic of their own."""
