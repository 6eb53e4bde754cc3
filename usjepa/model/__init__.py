"""The model, one idea a file: tokens, masks, encoder, predictor, teacher, localiser, their sum, and the segmenter."""
