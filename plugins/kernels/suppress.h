// Suppression of overlapping boxes, to the bit as lzu_export.runtime.postprocess.suppress defines it, for a fixed
// number of candidates. Two kernels: one puts candidates in order, the other keeps boxes greedily.
#pragma once

#include "launch.h"
#include "lzu_kernels.h"

namespace lzu
{

struct alignas(16) BoxEdges
{
    float left;
    float top;
    float right;
    float bottom;
};

// A candidate in its place: best first, unsound ones last.
struct Sorted
{
    BoxEdges* boxes;
    float* scores;
    int* labels;
    int* sound; // 1, or 0 for a candidate that can neither be kept nor suppress
};

// The rank of a candidate is the number of those before it: equal scores keep their order, and no two threads write to
// one place, so the order is the same in every run. Every block lays all scores out in shared memory first: MOST of
// them at most, so that the usual numbers of candidates take no more of it than they need.
template <int MOST>
struct RankCandidates : Phases<2>
{
    static constexpr int kTHREADS = 128;

    struct Shared
    {
        float scores[MOST]; // kUNSOUND for those that can neither be kept nor suppress
    };

    static_assert(sizeof(Shared) <= 48 * 1024, "static shared memory of a block is 48 KiB at most");

    static constexpr float kUNSOUND = -3.402823466e38F;

    LzuSuppress call;
    Sorted sorted;
    int blocksPerImage;

    LZU_HD void run(Shared& shared, Place place, int phase) const
    {
        int64_t const base = static_cast<int64_t>(place.block / blocksPerImage) * call.candidates;
        if (phase == 0)
        {
            for (int i = place.thread; i < call.candidates; i += kTHREADS)
            {
                shared.scores[i] = isSound(boxAt(base + i), call.scores[base + i]) ? call.scores[base + i] : kUNSOUND;
            }
            return;
        }
        int const own = place.block % blocksPerImage * kTHREADS + place.thread;
        if (own < call.candidates)
        {
            store(base, own, rankOf(shared, own), shared.scores[own] != kUNSOUND);
        }
    }

private:
    // A score of kUNSOUND itself is never above a threshold, so no sound candidate has it.
    LZU_HD bool isSound(BoxEdges const& box, float score) const
    {
        return score > call.score_threshold && score > kUNSOUND && isFinite(score) && isFinite(box.left)
               && isFinite(box.top) && isFinite(box.right) && isFinite(box.bottom) && box.right > box.left
               && box.bottom > box.top;
    }

    LZU_HD BoxEdges boxAt(int64_t at) const
    {
        float const* const edges = call.boxes + at * 4;
        return {edges[0], edges[1], edges[2], edges[3]};
    }

    LZU_HD int rankOf(Shared const& shared, int own) const
    {
        float const score = shared.scores[own];
        int rank = 0;
        for (int other = 0; other < call.candidates; ++other)
        {
            float const otherScore = shared.scores[other];
            rank += otherScore > score || (otherScore == score && other < own) ? 1 : 0;
        }
        return rank;
    }

    LZU_HD void store(int64_t base, int own, int rank, bool sound) const
    {
        sorted.boxes[base + rank] = boxAt(base + own);
        sorted.scores[base + rank] = call.scores[base + own];
        sorted.labels[base + rank] = call.label_bytes == 8
                                         ? static_cast<int>(static_cast<int64_t const*>(call.labels)[base + own])
                                         : static_cast<int32_t const*>(call.labels)[base + own];
        sorted.sound[base + rank] = sound ? 1 : 0;
    }
};

// One block serves one image. Even phases find the next candidate still alive, odd ones keep it and strike out what it
// overlaps, all candidates at once.
struct KeepBoxes
{
    static constexpr int kTHREADS = 512;

    struct Shared
    {
        uint64_t alive[LZU_MOST_CANDIDATES / 8]; // a byte a candidate, eight of them looked at together
        int next;                                // -1: none
        int cursor;                              // in words of `alive`
    };

    LzuSuppress call;
    Sorted sorted;

    // Phase 0 marks who is alive, 2 k + 1 finds candidate number k, 2 k + 2 keeps it. `next` is written in odd phases
    // only and asked for in even ones.
    LZU_HD bool more(Shared const& shared, int phase) const
    {
        if (phase == 0)
        {
            return true;
        }
        return phase % 2 != 0 ? phase / 2 < call.max_detections : shared.next >= 0;
    }

    LZU_HD void run(Shared& shared, Place place, int phase) const
    {
        int64_t const base = static_cast<int64_t>(place.block) * call.candidates;
        if (phase == 0)
        {
            clear(shared, place, base);
        }
        else if (phase % 2 != 0)
        {
            if (place.thread == 0)
            {
                find(shared);
            }
        }
        else
        {
            keep(shared, place, base, phase / 2 - 1);
        }
    }

private:
    LZU_HD static uint8_t* flags(Shared& shared)
    {
        return reinterpret_cast<uint8_t*>(shared.alive);
    }

    LZU_HD void clear(Shared& shared, Place place, int64_t base) const
    {
        for (int i = place.thread; i < 8 * words(); i += kTHREADS)
        {
            flags(shared)[i] = i < call.candidates && sorted.sound[base + i] != 0 ? 1 : 0;
        }
        int64_t const first = static_cast<int64_t>(place.block) * call.max_detections;
        for (int i = place.thread; i < call.max_detections; i += kTHREADS)
        {
            for (int edge = 0; edge < 4; ++edge)
            {
                call.kept_boxes[(first + i) * 4 + edge] = 0.0F;
            }
            call.kept_scores[first + i] = 0.0F;
            call.kept_labels[first + i] = -1;
        }
        if (place.thread == 0)
        {
            shared.cursor = 0;
            call.kept_count[place.block] = 0;
        }
    }

    // Words of `alive` that are in use.
    LZU_HD int words() const
    {
        return ceilDiv(call.candidates, 8);
    }

    LZU_HD void find(Shared& shared) const
    {
        int const most = words();
        int cursor = shared.cursor;
        while (cursor < most && shared.alive[cursor] == 0)
        {
            ++cursor;
        }
        shared.cursor = cursor;
        shared.next = -1;
        for (int i = 8 * cursor + 7; cursor < most && i >= 8 * cursor; --i)
        {
            shared.next = flags(shared)[i] != 0 ? i : shared.next;
        }
    }

    LZU_HD static bool overlaps(BoxEdges const& a, BoxEdges const& b, float threshold)
    {
        float const width = fmaxf(fminf(a.right, b.right) - fmaxf(a.left, b.left), 0.0F);
        float const height = fmaxf(fminf(a.bottom, b.bottom) - fmaxf(a.top, b.top), 0.0F);
        float const intersection = productRounded(width, height);
        float const areaA = productRounded(a.right - a.left, a.bottom - a.top);
        float const areaB = productRounded(b.right - b.left, b.bottom - b.top);
        return intersection > productRounded(threshold, areaA + areaB - intersection);
    }

    LZU_HD void keep(Shared& shared, Place place, int64_t base, int count) const
    {
        int const kept = shared.next;
        BoxEdges const box = sorted.boxes[base + kept];
        int const label = sorted.labels[base + kept];
        for (int i = place.thread; i < call.candidates; i += kTHREADS)
        {
            if (i == kept
                || (i > kept && flags(shared)[i] != 0 && sorted.labels[base + i] == label
                    && overlaps(box, sorted.boxes[base + i], call.iou_threshold)))
            {
                flags(shared)[i] = 0;
            }
        }
        if (place.thread == 0)
        {
            int64_t const at = static_cast<int64_t>(place.block) * call.max_detections + count;
            call.kept_boxes[at * 4] = box.left;
            call.kept_boxes[at * 4 + 1] = box.top;
            call.kept_boxes[at * 4 + 2] = box.right;
            call.kept_boxes[at * 4 + 3] = box.bottom;
            call.kept_scores[at] = sorted.scores[base + kept];
            call.kept_labels[at] = label;
            call.kept_count[place.block] = count + 1;
        }
    }
};

} // namespace lzu
