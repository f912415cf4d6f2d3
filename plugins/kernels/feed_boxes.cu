// Launcher of the feedback of boxes. A plain C++ compiler makes the host build of this file.
#include "feed_boxes.h"
#include "lzu_kernels.h"

extern "C" int32_t lzu_feed_boxes(LzuFeedBoxes const* call, void* stream)
{
    static_assert(lzu::kMAX_FED == LZU_MOST_CANDIDATES, "the limit is stated twice");
    if (call == nullptr || call->batch < 1 || call->detections < 1 || call->detections > LZU_MOST_CANDIDATES
        || call->box_count < 1 || call->box_count > LZU_MOST_BOXES || call->most < 0 || call->most > call->box_count
        || !(call->left <= call->right) || !(call->top <= call->bottom))
    {
        return LZU_INVALID;
    }
    lzu::FeedBoxes feed{};
    feed.boxes = call->boxes;
    feed.scores = call->scores;
    feed.count = call->count;
    feed.detections = call->detections;
    feed.boxCount = call->box_count;
    feed.most = call->most;
    feed.scoreThreshold = call->score_threshold;
    feed.left = call->left;
    feed.top = call->top;
    feed.right = call->right;
    feed.bottom = call->bottom;
    feed.prevBoxes = call->prev_boxes;
    feed.prevValid = call->prev_valid;
    return lzu::launch(feed, call->batch, stream);
}
