"""Trained models put to use: any film to features or label maps. Only reads what training left."""
