// Launcher of the feedback of boxes. A plain C++ compiler makes the host build of this file.
#include "feed_boxes.h"
#include "lzu_kernels.h"

extern "C" int32_t lzu_feed_boxes(LzuFeedBoxes const* call, void* stream)
{
    if (call == nullptr || call->batch < 1 || call->detections < 1 || call->detections > LZU_MOST_CANDIDATES
        || call->box_count < 1 || call->box_count > LZU_MOST_BOXES || call->most < 0 || call->most > call->box_count
        || !(call->left <= call->right) || !(call->top <= call->bottom))
    {
        return LZU_INVALID;
    }
    lzu::FeedBoxes kernel{};
    kernel.call = *call;
    return lzu::launch(kernel, call->batch, stream);
}
