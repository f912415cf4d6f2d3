// Suppression of overlapping boxes, to the bit as lzu_export.runtime.postprocess.suppress defines it, for a fixed
// number of candidates. Three kernels: the first sorts runs of candidates, the second merges the runs, the third keeps
// boxes greedily, a chunk of candidates at a time.
#pragma once

#include "launch.h"
#include "lzu_kernels.h"

namespace lzu
{

constexpr int kRUN = 256; // candidates that a block sorts, and that the last kernel visits together
constexpr int kRUN_WORDS = kRUN / 32;
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

// One block serves one image. It visits candidates in chunks, best first, until max_detections are kept: strikes out
// those that a kept box suppresses, writes down as bits which of the others suppress which, and keeps by bits alone. So
// a box that is kept costs one thread a few instructions and no barrier.
struct KeepBoxes
{
    static constexpr int kTHREADS = 2 * kRUN;
    static constexpr int kSTEPS = 5; // phases of a chunk

    struct Shared
    {
        BoxEdges chunk[kRUN]; // the candidates that are visited together
        int chunkLabels[kRUN];
        alignas(16) BoxEdges boxes[kRUN];      // of the chunk's survivors, those that no box kept before suppresses
        uint32_t suppresses[kRUN][kRUN_WORDS]; // bit j of row i: survivor i suppresses survivor j > i
        int labels[kRUN];
        int places[kRUN];            // of the survivors among the sorted candidates
        int chosen[kRUN];            // survivors that are kept
        uint32_t struck[kRUN_WORDS]; // bit i: candidate i of the chunk is suppressed
        int survivors;
        int sound;  // candidates to visit
        int before; // kept before this chunk
        int kept;
    };

    LzuSuppress call;
    SuppressSpace space;
    int runs;

    // Phase 0 begins; phases 5 k + 1 to 5 k + 5 serve chunk k.
    LZU_HD bool more(Shared const& shared, int phase) const
    {
        int const chunk = (phase - 1) / kSTEPS;
        return phase == 0 || (phase - 1) % kSTEPS != 0
               || (chunk * kRUN < shared.sound && shared.kept < call.max_detections);
    }

    LZU_HD void run(Shared& shared, Place place, int phase) const
    {
        if (phase == 0)
        {
            begin(shared, place);
            return;
        }
        int const first = (phase - 1) / kSTEPS * kRUN;
        switch ((phase - 1) % kSTEPS)
        {
        case 0: strike(shared, place, first); break;
        case 1: collect(shared, place, first); break;
        case 2: compare(shared, place); break;
        case 3: choose(shared, place, first); break;
        default: write(shared, place); break;
        }
    }

private:
    LZU_HD int64_t candidatesOf(Place place) const
    {
        return static_cast<int64_t>(place.block) * call.candidates;
    }

    LZU_HD int64_t keptOf(Place place) const
    {
        return static_cast<int64_t>(place.block) * call.max_detections;
    }

    LZU_HD void begin(Shared& shared, Place place) const
    {
        int64_t const kept = keptOf(place);
        for (int i = place.thread; i < call.max_detections; i += kTHREADS)
        {
            reinterpret_cast<BoxEdges*>(call.kept_boxes)[kept + i] = {0.0F, 0.0F, 0.0F, 0.0F};
            call.kept_scores[kept + i] = 0.0F;
            call.kept_labels[kept + i] = -1;
        }
        if (place.thread < kRUN_WORDS)
        {
            shared.struck[place.thread] = 0;
        }
        if (place.thread == 0)
        {
            int sound = 0;
            LZU_UNROLL(kMOST_RUNS)
            for (int i = 0; i < kMOST_RUNS; ++i)
            {
                sound += i < runs ? space.soundCounts[place.block * runs + i] : 0;
            }
            shared.sound = sound;
            shared.kept = 0;
            call.kept_count[place.block] = 0;
        }
    }

    LZU_HD bool overlaps(BoxEdges const& a, BoxEdges const& b) const
    {
        float const width = fmaxf(fminf(a.right, b.right) - fmaxf(a.left, b.left), 0.0F);
        float const height = fmaxf(fminf(a.bottom, b.bottom) - fmaxf(a.top, b.top), 0.0F);
        float const intersection = productRounded(width, height);
        float const areaA = productRounded(a.right - a.left, a.bottom - a.top);
        float const areaB = productRounded(b.right - b.left, b.bottom - b.top);
        return intersection > productRounded(call.iou_threshold, areaA + areaB - intersection);
    }

    // Below 0 where two sound boxes have a gap between them. By sign bits, since a device has few comparisons a cycle.
    LZU_HD static int areApart(BoxEdges const& a, BoxEdges const& b)
    {
        return floatBits(a.right - b.left) | floatBits(b.right - a.left) | floatBits(a.bottom - b.top)
               | floatBits(b.bottom - a.top);
    }

    // Boxes that are apart overlap by no threshold but one below 0.
    LZU_HD bool everyPair() const
    {
        return !(call.iou_threshold >= 0.0F);
    }

    // Takes candidates to shared memory, a thread each.
    LZU_HD void fetch(Shared& shared, Place place, int first, int own) const
    {
        if (first + own < shared.sound)
        {
            shared.chunk[own] = space.boxes[candidatesOf(place) + first + own];
            shared.chunkLabels[own] = space.labels[candidatesOf(place) + first + own];
        }
    }

    // Two threads look at a candidate, each at every other kept box, four at a time.
    LZU_HD void strike(Shared& shared, Place place, int first) const
    {
        int const own = place.thread % kRUN;
        bool suppressed = first + own >= shared.sound; // no candidate at all
        if (first == 0 && place.thread < kRUN)
        {
            fetch(shared, place, first, own);
        }
        int const last = shared.kept - 1; // below 0 in the first chunk
        BoxEdges const box = last < 0 ? BoxEdges{} : shared.chunk[own];
        int const label = last < 0 ? 0 : shared.chunkLabels[own];
        BoxEdges const* const boxes = reinterpret_cast<BoxEdges const*>(call.kept_boxes) + keptOf(place);
        int const* const labels = call.kept_labels + keptOf(place);
        for (int start = place.thread / kRUN; start <= last && !suppressed; start += 8)
        {
            int apart[4]; // by the last of the list for those behind it
            LZU_UNROLL(4)
            for (int k = 0; k < 4; ++k)
            {
                apart[k] = areApart(boxes[start + 2 * k < last ? start + 2 * k : last], box);
            }
            if ((apart[0] & apart[1] & apart[2] & apart[3]) < 0 && !everyPair())
            {
                continue;
            }
            uint32_t near = everyPair() ? 15U : 0U;
            LZU_UNROLL(4)
            for (int k = 0; k < 4; ++k)
            {
                near |= apart[k] >= 0 ? 1U << k : 0U;
            }
            LZU_UNROLL(1)
            for (; near != 0; near &= near - 1U)
            {
                int const other = start + 2 * lowestBit(near);
                int const i = other < last ? other : last;
                suppressed |= labels[i] == label && overlaps(boxes[i], box);
            }
        }
        if (suppressed)
        {
            setBits(shared.struck[own / 32], 1U << (own % 32));
        }
    }

    // The bits below this one.
    LZU_HD static uint32_t maskBelow(int bit)
    {
        return bit >= 32 ? ~0U : (bit > 0 ? (1U << bit) - 1U : 0U);
    }

    LZU_HD void collect(Shared& shared, Place place, int first) const
    {
        int before = 0;
        int all = 0;
        uint32_t own = 0;
        LZU_UNROLL(kRUN_WORDS)
        for (int word = 0; word < kRUN_WORDS; ++word)
        {
            uint32_t const left = ~shared.struck[word];
            before += word < place.thread / 32 ? countBits(left) : 0;
            all += countBits(left);
            own = word == place.thread / 32 ? left : own;
        }
        uint32_t const bit = 1U << (place.thread % 32);
        if ((own & bit) != 0) // never for threads beyond the chunk
        {
            int const at = before + countBits(own & (bit - 1U));
            int const from = first + place.thread;
            shared.boxes[at] = shared.chunk[place.thread];
            shared.labels[at] = shared.chunkLabels[place.thread];
            shared.places[at] = from;
        }
        if (place.thread == 0)
        {
            shared.survivors = all;
        }
    }

    LZU_HD void compare(Shared& shared, Place place) const
    {
        if (place.thread < kRUN_WORDS)
        {
            shared.struck[place.thread] = 0; // for the next chunk
        }
        int const own = place.thread % kRUN;
        if (own >= shared.survivors)
        {
            return;
        }
        BoxEdges const box = shared.boxes[own];
        int const label = shared.labels[own];
        for (int word = place.thread / kRUN; word * 32 < shared.survivors; word += 2)
        {
            uint32_t bits = 0;
            if (own < word * 32 + 32)
            {
                uint32_t near = everyPair() ? ~0U : 0U;
                LZU_UNROLL(8)
                for (int i = 0; i < 32; ++i)
                {
                    near |= areApart(box, shared.boxes[word * 32 + i]) >= 0 ? 1U << i : 0U;
                }
                near &= maskBelow(shared.survivors - word * 32) & ~maskBelow(own + 1 - word * 32);
                for (; near != 0; near &= near - 1U)
                {
                    int const i = word * 32 + lowestBit(near);
                    bool const hit = shared.labels[i] == label && overlaps(box, shared.boxes[i]);
                    bits |= hit ? 1U << (i % 32) : 0U;
                }
            }
            shared.suppresses[own][word] = bits;
        }
    }

    // Greedy, by one thread: the first that is left is kept, what it suppresses is left no more. Others fetch the next.
    LZU_HD void choose(Shared& shared, Place place, int first) const
    {
        if (place.thread >= kRUN)
        {
            fetch(shared, place, first + kRUN, place.thread - kRUN);
        }
        if (place.thread != 0)
        {
            return;
        }
        uint32_t left[kRUN_WORDS];
        LZU_UNROLL(kRUN_WORDS)
        for (int word = 0; word < kRUN_WORDS; ++word)
        {
            left[word] = maskBelow(shared.survivors - word * 32);
        }
        int const room = call.max_detections - shared.kept;
        int count = 0;
        LZU_UNROLL(kRUN_WORDS)
        for (int word = 0; word < kRUN_WORDS; ++word)
        {
            while (left[word] != 0 && count < room)
            {
                int const own = word * 32 + lowestBit(left[word]);
                shared.chosen[count++] = own;
                left[word] &= left[word] - 1U;
                LZU_UNROLL(kRUN_WORDS)
                for (int other = word; other < kRUN_WORDS; ++other)
                {
                    left[other] &= ~shared.suppresses[own][other];
                }
            }
        }
        shared.before = shared.kept;
        shared.kept += count;
    }

    LZU_HD void write(Shared& shared, Place place) const
    {
        for (int i = place.thread; i < shared.kept - shared.before; i += kTHREADS)
        {
            int const own = shared.chosen[i];
            int64_t const at = keptOf(place) + shared.before + i;
            reinterpret_cast<BoxEdges*>(call.kept_boxes)[at] = shared.boxes[own];
            call.kept_scores[at] = space.scores[candidatesOf(place) + shared.places[own]];
            call.kept_labels[at] = shared.labels[own];
        }
        if (place.thread == 0)
        {
            call.kept_count[place.block] = shared.kept;
        }
    }
};

} // namespace lzu
