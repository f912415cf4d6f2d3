// Suppression of overlapping boxes, to the bit as lzu_export.runtime.postprocess.suppress defines it, for a fixed
// number of candidates. Three kernels: the first sorts runs of candidates, the second merges the runs, the third, in
// keep_boxes.h, keeps boxes greedily.
#pragma once

#include "launch.h"
#include "lzu_kernels.h"

namespace lzu
{

constexpr int kRUN = 256; // candidates that a block sorts
constexpr int kMOST_RUNS = LZU_MOST_CANDIDATES / kRUN;

// Score of a candidate that can neither be kept nor suppress; no sound one has it, as it is above no threshold.
constexpr float kUNSOUND = -3.402823466e38F;

struct alignas(16) BoxEdges
{
    float left;
    float top;
    float right;
    float bottom;
};

// What the kernels hand on to each other, in the caller's workspace: batch x candidates each, but for the last.
struct SuppressSpace
{
    BoxEdges* boxes; // sound candidates, best first; as many as soundCounts adds up to
    float* scores;
    int* labels;
    float* runScores; // by runs, best first, kUNSOUND last
    int* runIndices;  // the candidate's place in the input
    int* soundCounts; // batch x runs
};

// Rank of a candidate in its run: the number of those before it. Equal scores keep their order in every run.
struct SortRuns : Phases<3>
{
    static constexpr int kTHREADS = kRUN;

    struct Shared
    {
        float scores[kRUN];
        int sound;
    };

    LzuSuppress call;
    SuppressSpace space;
    int runs; // of an image

    LZU_HD void run(Shared& shared, Place place, int phase) const
    {
        int64_t const base = static_cast<int64_t>(place.block / runs) * call.candidates;
        int const start = place.block % runs * kRUN;
        int const count = call.candidates - start < kRUN ? call.candidates - start : kRUN;
        if (phase == 0)
        {
            int64_t const at = base + start + place.thread;
            shared.scores[place.thread]
                = place.thread < count && isSound(at, call.scores[at]) ? call.scores[at] : kUNSOUND;
            if (place.thread == 0)
            {
                shared.sound = 0;
            }
        }
        else if (phase == 1)
        {
            if (place.thread < count)
            {
                int const rank = rankOf(shared, place.thread);
                space.runScores[base + start + rank] = shared.scores[place.thread];
                space.runIndices[base + start + rank] = start + place.thread;
            }
            if (shared.scores[place.thread] != kUNSOUND)
            {
                addTo(shared.sound, 1);
            }
        }
        else if (place.thread == 0)
        {
            space.soundCounts[place.block] = shared.sound;
        }
    }

private:
    LZU_HD bool isSound(int64_t at, float score) const
    {
        float const* const edges = call.boxes + at * 4;
        return score > call.score_threshold && score > kUNSOUND && isFinite(score) && isFinite(edges[0])
               && isFinite(edges[1]) && isFinite(edges[2]) && isFinite(edges[3]) && edges[2] > edges[0]
               && edges[3] > edges[1];
    }

    // Places behind the run's end are unsound and later, so they count nothing.
    LZU_HD static int rankOf(Shared const& shared, int own)
    {
        float const score = shared.scores[own];
        int rank = 0;
        int const warp = own / 32 * 32; // before it equal scores count, behind it they do not
        LZU_UNROLL(8)
        for (int other = 0; other < warp; ++other)
        {
            rank += shared.scores[other] >= score ? 1 : 0;
        }
        LZU_UNROLL(8)
        for (int other = warp; other < warp + 32; ++other)
        {
            float const otherScore = shared.scores[other];
            rank += otherScore > score || (otherScore == score && other < own) ? 1 : 0;
        }
        LZU_UNROLL(8)
        for (int other = warp + 32; other < kRUN; ++other)
        {
            rank += shared.scores[other] > score ? 1 : 0;
        }
        return rank;
    }
};

// Rank of a candidate in its image: to its rank in its run adds those before it in each other run, by bisection.
struct MergeRuns : Phases<2>
{
    static constexpr int kTHREADS = kRUN;

    struct Shared
    {
        float scores[LZU_MOST_CANDIDATES];
    };

    static_assert(sizeof(Shared) <= 48 * 1024, "static shared memory of a block is 48 KiB at most");

    LzuSuppress call;
    SuppressSpace space;
    int runs; // of an image

    LZU_HD void run(Shared& shared, Place place, int phase) const
    {
        int64_t const base = static_cast<int64_t>(place.block / runs) * call.candidates;
        if (phase == 0)
        {
            for (int i = place.thread; i < runs * kRUN; i += kTHREADS)
            {
                shared.scores[i] = i < call.candidates ? space.runScores[base + i] : kUNSOUND;
            }
            return;
        }
        int const own = place.block % runs;
        float const score = shared.scores[own * kRUN + place.thread];
        if (score != kUNSOUND)
        {
            int rank = place.thread;
            LZU_UNROLL(4)
            for (int other = 0; other < own; ++other) // equal scores of earlier runs come first
            {
                rank += countBefore<true>(shared.scores + other * kRUN, score);
            }
            LZU_UNROLL(4)
            for (int other = own + 1; other < runs; ++other)
            {
                rank += countBefore<false>(shared.scores + other * kRUN, score);
            }
            store(base, space.runIndices[base + own * kRUN + place.thread], rank, score);
        }
    }

private:
    template <bool TIES>
    LZU_HD static int countBefore(float const* scores, float score)
    {
        int count = 0;
        LZU_UNROLL(8)
        for (int step = kRUN / 2; step > 0; step /= 2)
        {
            float const other = scores[count + step - 1];
            count += (TIES ? other >= score : other > score) ? step : 0;
        }
        return count + ((TIES ? scores[count] >= score : scores[count] > score) ? 1 : 0);
    }

    LZU_HD void store(int64_t base, int candidate, int rank, float score) const
    {
        int64_t const from = base + candidate;
        float const* const edges = call.boxes + from * 4;
        space.boxes[base + rank] = {edges[0], edges[1], edges[2], edges[3]};
        space.scores[base + rank] = score;
        space.labels[base + rank] = call.label_bytes == 8
                                        ? static_cast<int>(static_cast<int64_t const*>(call.labels)[from])
                                        : static_cast<int32_t const*>(call.labels)[from];
    }
};

} // namespace lzu
