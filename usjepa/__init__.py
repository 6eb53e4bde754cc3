"""Self-supervised ultrasound video: V-JEPA with a 3D localisation loss (arXiv 2507.18424), as a book that runs.

Notation. Shapes are written in these letters, everywhere: in signatures, in einops patterns, in the book.

| letter | meaning | in the paper | the paper's setting |
|---|---|---|---|
| `b` | clip in the batch | *b*, *B* | 4 |
| `c T H W` | channels, frames, rows, columns of a clip | *T*, *H* x *W* | 3, 16, 224, 224 |
| `t i j` | tubelets along time, rows, columns | *t*, *i*, *j* | 8, 14, 14 |
| `n` | all tokens, raster order, time outermost | *P* | 1568 |
| `v` | visible (context) tokens | x | varies |
| `m` | masked (target) tokens | *M* | varies |
| `r` | pairs of targets | *R* | 100 |
| `d` | width of the encoder | | 1024 |
| `e` | width of the predictor | | 384 |
| `s` | structure: background, LV endo, LV epi, LA | section 3 | 4 |
"""

import lazy_loader

# Names are loaded on first use: torch takes seconds to import, and the command's help needs none of it.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
