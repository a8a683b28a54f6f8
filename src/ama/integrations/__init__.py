"""Ways from other tools into ama. Each is an extra, and holds no logic of its own."""
