// From a frame's detections to the boxes that the next frame is looked at by, as
// lzu_export.runtime.feedback.PreviousBoxes takes them.
#pragma once

#include "launch.h"

namespace lzu
{

constexpr int kMAX_FED = 3840;

// One block serves one image. A detection's place is the number of those before it that are let through, so the order
// stays the same and no two threads write to one place.
struct FeedBoxes
{
    static constexpr int kTHREADS = 128;

    struct Shared
    {
        uint8_t through[kMAX_FED]; // 1: let through
    };

    float const* boxes;
    float const* scores;
    int const* count;
    int detections;
    int boxCount;
    int most;
    float scoreThreshold;
    float left;
    float top;
    float right;
    float bottom;
    float* prevBoxes;
    float* prevValid;

    LZU_HD bool more(Shared const& /*shared*/, int phase) const
    {
        return phase < 2;
    }

    LZU_HD void run(Shared& shared, Place place, int phase) const
    {
        int64_t const base = static_cast<int64_t>(place.block) * detections;
        int64_t const first = static_cast<int64_t>(place.block) * boxCount;
        int const there = clampInt(count[place.block], 0, detections);
        if (phase == 0)
        {
            for (int i = place.thread; i < there; i += kTHREADS)
            {
                shared.through[i] = isThrough(boxes + (base + i) * 4, scores[base + i]) ? 1 : 0;
            }
            for (int i = place.thread; i < boxCount; i += kTHREADS)
            {
                put(first + i, 0.0F, 0.0F, 0.0F, 0.0F, 0.0F);
            }
            return;
        }
        for (int i = place.thread; i < there; i += kTHREADS)
        {
            int const rank = shared.through[i] != 0 ? rankOf(shared, i) : most;
            if (rank < most)
            {
                float const* const edges = boxes + (base + i) * 4;
                put(first + rank, within(edges[0], left, right), within(edges[1], top, bottom),
                    within(edges[2], left, right), within(edges[3], top, bottom), 1.0F);
            }
        }
    }

private:
    // Clipping makes any number finite but NaN.
    LZU_HD bool isThrough(float const* edges, float score) const
    {
        return score >= scoreThreshold && edges[0] == edges[0] && edges[1] == edges[1] && edges[2] == edges[2]
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
        prevBoxes[at * 4] = x1;
        prevBoxes[at * 4 + 1] = y1;
        prevBoxes[at * 4 + 2] = x2;
        prevBoxes[at * 4 + 3] = y2;
        prevValid[at] = valid;
    }
};

} // namespace lzu
