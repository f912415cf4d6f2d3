// From a frame's detections to the boxes that the next frame is looked at by, as
// lzu_export.runtime.feedback.PreviousBoxes takes them.
#pragma once

#include "launch.h"
#include "lzu_kernels.h"

namespace lzu
{

// One block serves one image. A detection's place is the number of those before it that are let through, so the order
// stays the same and no two threads write to one place.
struct FeedBoxes : Phases<2>
{
    static constexpr int kTHREADS = 128;

    struct Shared
    {
        uint8_t through[LZU_MOST_CANDIDATES]; // 1: let through
    };

    LzuFeedBoxes call;

    LZU_HD void run(Shared& shared, Place place, int phase) const
    {
        int64_t const base = static_cast<int64_t>(place.block) * call.detections;
        int64_t const first = static_cast<int64_t>(place.block) * call.box_count;
        int const there = clampInt(call.count[place.block], 0, call.detections);
        if (phase == 0)
        {
            for (int i = place.thread; i < there; i += kTHREADS)
            {
                shared.through[i] = isThrough(call.boxes + (base + i) * 4, call.scores[base + i]) ? 1 : 0;
            }
            for (int i = place.thread; i < call.box_count; i += kTHREADS)
            {
                put(first + i, 0.0F, 0.0F, 0.0F, 0.0F, 0.0F);
            }
            return;
        }
        for (int i = place.thread; i < there; i += kTHREADS)
        {
            int const rank = shared.through[i] != 0 ? rankOf(shared, i) : call.most;
            if (rank < call.most)
            {
                float const* const edges = call.boxes + (base + i) * 4;
                put(first + rank, within(edges[0], call.left, call.right), within(edges[1], call.top, call.bottom),
                    within(edges[2], call.left, call.right), within(edges[3], call.top, call.bottom), 1.0F);
            }
        }
    }

private:
    // Clipping makes any number finite but NaN.
    LZU_HD bool isThrough(float const* edges, float score) const
    {
        return score >= call.score_threshold && edges[0] == edges[0] && edges[1] == edges[1] && edges[2] == edges[2]
               && edges[3] == edges[3];
    }

    LZU_HD static float within(float value, float low, float high)
    {
        return value < low ? low : (value > high ? high : value);
    }

    LZU_HD static int rankOf(Shared const& shared, int own)
    {
        int rank = 0;
        for (int other = 0; other < own; ++other)
        {
            rank += shared.through[other];
        }
        return rank;
    }

    LZU_HD void put(int64_t at, float x1, float y1, float x2, float y2, float valid) const
    {
        call.prev_boxes[at * 4] = x1;
        call.prev_boxes[at * 4 + 1] = y1;
        call.prev_boxes[at * 4 + 2] = x2;
        call.prev_boxes[at * 4 + 3] = y2;
        call.prev_valid[at] = valid;
    }
};

} // namespace lzu
