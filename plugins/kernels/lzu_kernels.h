/* The kernels' launchers, for the plugins, for the runtime (ctypes, cffi) and, in a host build, for tests.
 *
 * Pointers are to device memory (to host memory in a host build); tensors start at multiples of 16 bytes, as whatever a
 * device allocator returns does. `stream` is a cudaStream_t. Every launcher only
 * enqueues work, allocates nothing and can be captured in a CUDA graph. It returns 0, a positive cudaError_t, or
 * LZU_INVALID where its arguments do not fit together; then nothing was launched.
 */
#ifndef LZU_KERNELS_H
#define LZU_KERNELS_H

#if !defined(__CUDACC_RTC__) /* NVRTC lacks these headers; portable.h defines the types for it */
#include <stddef.h>
#include <stdint.h>
#endif

#if defined(__GNUC__)
#define LZU_API __attribute__((visibility("default")))
#else
#define LZU_API
#endif

#if defined(__cplusplus)
extern "C" {
#endif

#define LZU_INVALID (-1)
#define LZU_PLUGINS_VERSION 1
#define LZU_MOST_LEVELS 8
#define LZU_MOST_BOXES 1024
#define LZU_MOST_LATTICE 256
#define LZU_MOST_TILES 65536
#define LZU_MOST_TILE_ROWS 1024
#define LZU_MOST_CANDIDATES 8192

/* Memory formats of feature levels; all levels of a call share one. */
enum LzuFormat
{
    LZU_F32_LINEAR = 0,
    LZU_F16_LINEAR = 1,
    LZU_F16_HWC8 = 2,
    LZU_I8_CHW4 = 3,
    LZU_I8_CHW32 = 4,
    LZU_I8_LINEAR = 5,
};

/* A level cell's label position is scale * i + offset, i its index; positions are in [-1, 1]. A scale of 0 stands for
 * an axis that the warp does not move: its output cells spread evenly from the first of its cells to the last. */
struct LzuLevel
{
    void const* input;
    void* output;
    int32_t channels;
    int32_t height; /* of the input */
    int32_t width;
    int32_t upscale; /* output cells per input cell, on each axis */
    float scale_y;
    float offset_y;
    float scale_x;
    float offset_x;
};

struct LzuUnzoom
{
    struct LzuLevel levels[LZU_MOST_LEVELS];
    int32_t level_count;
    int32_t batch;
    int32_t format;
    int32_t tactic;       /* 0 .. lzu_unzoom_tactics(format) - 1 */
    float const* knots_x; /* batch x knot_count_x, or 1 x knot_count_x with shared_knots */
    float const* knots_y;
    int32_t knot_count_x;
    int32_t knot_count_y;
    int32_t shared_knots; /* 1: one warp for the whole batch */
    int32_t timing;       /* 1: knots of which the last is not above the first stand for the identity warp */
};

struct LzuZoom
{
    void const* input; /* batch x channels x height x width */
    void* output;      /* batch x channels x (canvas_height + pad_y) x (canvas_width + pad_x) */
    int32_t batch;
    int32_t channels;
    int32_t height;
    int32_t width;
    int32_t canvas_height;
    int32_t canvas_width;
    int32_t pad_y;  /* rows of zeros below */
    int32_t pad_x;  /* columns of zeros at the right */
    int32_t format; /* LZU_F32_LINEAR or LZU_F16_LINEAR */
    int32_t tactic; /* 0 .. lzu_zoom_tactics(format) - 1 */
    float const* knots_x;
    float const* knots_y;
    int32_t knot_count_x;
    int32_t knot_count_y;
    int32_t shared_knots;
    int32_t timing; /* as in LzuUnzoom */
};

enum LzuPixels
{
    LZU_BGR = 0, /* packed, 3 bytes a pixel */
    LZU_RGB = 1,
    LZU_NV12 = 2, /* a plane of luma and a half-size plane of interleaved Cb and Cr; BT.601, limited range */
    LZU_GRAY = 3, /* 1 byte a pixel, which is blue, green and red alike */
};

/* From a camera's bytes to a network's input: zoom, normalise, pad, change of channel order, in one pass. */
struct LzuCamera
{
    uint8_t const* pixels; /* the first pixel of the picture; NV12: of its luma, at an even row and column */
    uint8_t const* chroma; /* NV12: the picture's first Cb; else NULL */
    int32_t pitch;         /* bytes from a row to the next, of luma and chroma alike */
    int32_t pixel_format;
    int32_t reduce; /* every reduce-th pixel and row of the frame is a pixel of the picture; 1 for all */
    int32_t height; /* of the picture */
    int32_t width;
    int32_t canvas_height;
    int32_t canvas_width;
    int32_t pad_y;
    int32_t pad_x;
    int32_t bilinear; /* 1: all supports and gains of the tables are 1, which is quicker; knots are so in any case */
    /* The warp: either knots, or resample tables (4 x canvas rows or columns: floor, fraction, support, gain). */
    float const* knots_x;
    float const* knots_y;
    int32_t knot_count_x;
    int32_t knot_count_y;
    float const* table_x;
    float const* table_y;
    float mean[3]; /* in the order of the output's channels */
    float std[3];
    int32_t rgb_output; /* 1: channels red, green, blue; 0: blue, green, red */
    int32_t format;     /* LZU_F32_LINEAR or LZU_F16_LINEAR */
    void* output;       /* 3 x (canvas_height + pad_y) x (canvas_width + pad_x) */
};

struct LzuBoxKnots
{
    float const* boxes;     /* batch x box_count x 4: x1, y1, x2, y2 in source pixels */
    float const* valid;     /* batch x box_count: 1 for a box, 0 for none */
    float const* amplitude; /* one number */
    float const* bandwidth; /* one number, pixels */
    float const* fixed_x;   /* lattice_width, sums to 1 */
    float const* fixed_y;
    float* knots_x; /* batch x lattice_width */
    float* knots_y;
    int32_t batch;
    int32_t box_count;
    int32_t lattice_height;
    int32_t lattice_width;
    int32_t source_height;
    int32_t source_width;
    float fwhm;     /* lattice cells */
    float mix;      /* share of the boxes' saliency, 0 to 1 */
    float min_side; /* pixels */
};

struct LzuInvertWarp
{
    float const* knots; /* batch x lattice_height x lattice_width x 2, order x, y */
    float* grid;        /* batch x height x width x 2 */
    int32_t batch;
    int32_t lattice_height;
    int32_t lattice_width;
    int32_t height;
    int32_t width;
    float scale_y; /* row i of the grid stands at scale_y * i + offset_y in [-1, 1] */
    float offset_y;
    float scale_x;
    float offset_x;
    float outside;  /* both coordinates where no tile holds a point */
    int32_t tactic; /* 0 .. lzu_invert_warp_tactics() - 1 */
    int32_t timing; /* 1: knots of which the last is not right of and below the first stand for the identity warp */
};

/* Suppression as lzu_export.runtime.postprocess.suppress defines it, batch images at once. */
struct LzuSuppress
{
    float const* boxes;  /* batch x candidates x 4 */
    float const* scores; /* batch x candidates */
    void const* labels;  /* batch x candidates, integers of label_bytes each */
    int32_t label_bytes; /* 4 or 8 */
    int32_t batch;
    int32_t candidates; /* at most LZU_MOST_CANDIDATES */
    int32_t max_detections;
    float score_threshold;
    float iou_threshold;
    void* workspace;      /* lzu_suppress_workspace(batch, candidates) bytes, 16-byte aligned */
    float* kept_boxes;    /* batch x max_detections x 4, best first, zeros after the last */
    float* kept_scores;   /* batch x max_detections */
    int32_t* kept_labels; /* batch x max_detections, -1 after the last */
    int32_t* kept_count;  /* batch */
};

/* The boxes that the next frame is looked at by, as lzu_export.runtime.feedback.PreviousBoxes takes them: clipped to
 * the view, those of a score, in order. Inputs are what lzu_suppress keeps, outputs what lzu_box_knots takes. */
struct LzuFeedBoxes
{
    float const* boxes;    /* batch x detections x 4, in source pixels, best first */
    float const* scores;   /* batch x detections */
    int32_t const* count;  /* batch: so many of them are detections */
    int32_t batch;
    int32_t detections;    /* at most LZU_MOST_CANDIDATES */
    int32_t box_count;     /* at most LZU_MOST_BOXES */
    int32_t most;          /* boxes that are fed at most, 0 to box_count */
    float score_threshold; /* lowest score, inclusive */
    float left;            /* of the view, in source pixels */
    float top;
    float right;
    float bottom;
    float* prev_boxes; /* batch x box_count x 4, zeros after the last */
    float* prev_valid; /* batch x box_count: 1 for a box, 0 for none */
};

#if !defined(__CUDACC_RTC__) /* the launchers, which kernels that NVRTC compiles do not call */

/* Samples every level at the inverse of the warp; zeros outside. */
LZU_API int32_t lzu_unzoom(struct LzuUnzoom const* call, void* stream);
LZU_API int32_t lzu_unzoom_tactics(int32_t format);

/* Samples images at the forward warp. */
LZU_API int32_t lzu_zoom(struct LzuZoom const* call, void* stream);
LZU_API int32_t lzu_zoom_tactics(int32_t format);

LZU_API int32_t lzu_zoom_camera(struct LzuCamera const* call, void* stream);

LZU_API int32_t lzu_box_knots(struct LzuBoxKnots const* call, void* stream);

LZU_API int32_t lzu_invert_warp(struct LzuInvertWarp const* call, void* stream);
LZU_API int32_t lzu_invert_warp_tactics(void);

LZU_API int32_t lzu_suppress(struct LzuSuppress const* call, void* stream);
LZU_API size_t lzu_suppress_workspace(int32_t batch, int32_t candidates);

LZU_API int32_t lzu_feed_boxes(struct LzuFeedBoxes const* call, void* stream);

/* Major version of the CUDA runtime the library was compiled for, 0 for a host build. */
LZU_API int32_t lzu_cuda_major(void);

/* Version of the library's plugins, all of which have the same: what a graph's `plugin_version` says. */
LZU_API int32_t lzu_plugins_version(void);

#endif

#if defined(__cplusplus)
}
#endif

#endif
