// The last kernel of the suppression: keeps boxes greedily, best first.
//
// To compare every candidate with every kept box would be most of the work. Instead, a grid lies over the image, and
// for each of its columns and rows bits say which kept boxes begin no later, and which end no earlier. Four words of
// bits, one for each edge of a candidate, give those of 32 kept boxes that it may overlap. These few are compared in
// full: the grid decides what is compared, never the result.
#pragma once

#include "suppress.h"

namespace lzu
{

constexpr int kCELLS = 64; // columns of the grid, and rows

// Bits of 128 kept boxes.
struct alignas(16) KeptBits
{
    uint32_t words[4];

    LZU_HD bool any() const
    {
        return (words[0] | words[1] | words[2] | words[3]) != 0;
    }

    // Clears the lowest bit and returns its number.
    LZU_HD int takeLowest()
    {
        int at = 0;
        uint32_t lowest = words[0];
        words[0] &= words[0] - 1U;
        LZU_UNROLL(3)
        for (int i = 1; i < 4; ++i)
        {
            bool const isFirst = lowest == 0;
            at = isFirst ? i : at;
            lowest = isFirst ? words[i] : lowest;
            words[i] = isFirst ? words[i] & (words[i] - 1U) : words[i];
        }
        return 32 * at + lowestBit(lowest);
    }
};

// One block serves one image, in rounds until max_detections are kept. A round takes up to kTAKEN candidates that are
// not struck out, best first, writes down as bits which of them suppress which, and keeps by bits alone: a kept box
// costs one thread a few instructions and no barrier. Then it strikes out those of the next candidates that a kept box
// suppresses.
struct KeepBoxes : Rounds<6>
{
    static constexpr int kTHREADS = 1024;
    static constexpr int kWINDOW = kTHREADS; // candidates that a round looks at
    static constexpr int kTAKEN = 256;       // candidates that a round takes at most
    static constexpr int kTAKEN_WORDS = kTAKEN / 32;
    static constexpr int kWORDS = (LZU_MOST_CANDIDATES + kWINDOW) / 32;
    static constexpr int kPAGE = 2 * kTAKEN; // kept boxes that there are bits of
    static constexpr int kSIDES = 4;         // left, top, right, bottom

    struct Shared
    {
        KeptBits near[kPAGE / 128][kSIDES][kCELLS];
        alignas(16) BoxEdges boxes[kTAKEN];        // that the round has taken
        uint32_t suppresses[kTAKEN][kTAKEN_WORDS]; // bit j of row i: box i suppresses box j > i
        int labels[kTAKEN];
        int places[kTAKEN];                  // among the sorted candidates
        int chosen[kTAKEN];                  // boxes that are kept
        unsigned char cells[kSIDES][kTAKEN]; // of the boxes' edges
        uint32_t struck[kWORDS];             // bit i: candidate i is suppressed, or none
        int before[kWINDOW / 32];            // candidates of the round before each word of its window
        float origin[2];                     // x and y where the grid begins
        float cellsPerUnit[2];
        int sound; // candidates to visit
        int from;  // first candidate of the round
        int to;    // behind its last
        int taken;
        int keptBefore; // this round
        int kept;
        int page; // number of the first kept box that there are bits of; earlier ones have struck out all they suppress
    };

    LzuSuppress call;
    SuppressSpace space;
    int runs;

    LZU_HD bool again(Shared const& shared) const
    {
        return shared.from < shared.sound && shared.kept < call.max_detections;
    }

    LZU_HD void run(Shared& shared, Place place, int phase) const
    {
        switch (phase)
        {
        case 0: begin(shared, place); break;
        case 1: count(shared, place.thread); break;
        case 2: collect(shared, place); break;
        case 3: compare(shared, place); break;
        case 4: choose(shared, place.thread); break;
        case 5: write(shared, place); break;
        default: strike(shared, place); break;
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
        static_assert(kWORDS <= kTHREADS, "a thread begins a word");
        if (place.thread < kWORDS)
        {
            shared.struck[place.thread] = ~maskBelow(countSound(place) - 32 * place.thread);
        }
        if (place.thread == 0)
        {
            shared.sound = countSound(place);
            shared.from = 0;
            shared.to = 0;
            shared.taken = 0;
            shared.kept = 0;
            shared.page = 0;
            call.kept_count[place.block] = 0;
        }
    }

    LZU_HD int countSound(Place place) const
    {
        int sound = 0;
        LZU_UNROLL(kMOST_RUNS)
        for (int i = 0; i < kMOST_RUNS; ++i)
        {
            sound += i < runs ? space.soundCounts[place.block * runs + i] : 0;
        }
        return sound;
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

    // The column or row of an edge: a greater edge has no smaller one. Where the grid's extent overflows, NaN counts as
    // 0.
    LZU_HD static int cellOf(Shared const& shared, int axis, float edge)
    {
        float const cell = (edge - shared.origin[axis]) * shared.cellsPerUnit[axis];
        float const inside = fminf(fmaxf(cell, 0.0F), static_cast<float>(kCELLS - 1));
        return floatBits(inside + 12582912.0F) & (kCELLS - 1); // the sum's mantissa ends with the nearest integer
    }

    // Whether a box that there are bits of suppresses a candidate.
    LZU_HD bool isSuppressed(Shared const& shared, Place place, BoxEdges const& box, int label) const
    {
        int const cells[kSIDES] = {cellOf(shared, 0, box.right), cellOf(shared, 1, box.bottom),
            cellOf(shared, 0, box.left), cellOf(shared, 1, box.top)};
        int64_t const first = keptOf(place) + shared.page;
        BoxEdges const* const boxes = reinterpret_cast<BoxEdges const*>(call.kept_boxes) + first;
        int const* const labels = call.kept_labels + first;
        LZU_UNROLL(1)
        for (int start = 0; start < shared.kept - shared.page; start += 128)
        {
            KeptBits near{};
            LZU_UNROLL(4)
            for (int word = 0; word < 4; ++word)
            {
                near.words[word] = everyPair() ? maskBelow(shared.kept - shared.page - start - 32 * word) : ~0U;
            }
            LZU_UNROLL(kSIDES)
            for (int side = 0; side < kSIDES && !everyPair(); ++side)
            {
                KeptBits const here = shared.near[start / 128][side][cells[side]];
                LZU_UNROLL(4)
                for (int word = 0; word < 4; ++word)
                {
                    near.words[word] &= here.words[word];
                }
            }
            LZU_UNROLL(1)
            while (near.any())
            {
                int const i = start + near.takeLowest();
                if (labels[i] == label && overlaps(boxes[i], box))
                {
                    return true;
                }
            }
        }
        return false;
    }

    // The round takes whole words of the window, a thread each, while they have no more than kTAKEN candidates.
    LZU_HD static void count(Shared& shared, int thread)
    {
        if (thread >= kWINDOW / 32)
        {
            return;
        }
        int before = 0;
        int own = 0;
        LZU_UNROLL(kWINDOW / 32)
        for (int word = 0; word < kWINDOW / 32; ++word)
        {
            int const left = countBits(~shared.struck[shared.from / 32 + word]);
            before += word < thread ? left : 0;
            own = word == thread ? left : own;
        }
        shared.before[thread] = before;
        if (before + own <= kTAKEN)
        {
            raiseTo(shared.taken, before + own);
            raiseTo(shared.to, shared.from + 32 * (thread + 1));
        }
    }

    LZU_HD void collect(Shared& shared, Place place) const
    {
        int const at = shared.from + place.thread;
        uint32_t const left = ~shared.struck[at / 32];
        uint32_t const bit = 1U << (at % 32);
        if (at < shared.to && (left & bit) != 0)
        {
            int const slot = shared.before[place.thread / 32] + countBits(left & (bit - 1U));
            shared.boxes[slot] = space.boxes[candidatesOf(place) + at];
            shared.labels[slot] = space.labels[candidatesOf(place) + at];
            shared.places[slot] = at;
        }
    }

    // Whether there may be no room for the bits of another round. Then those there are serve all further candidates at
    // once, and are given up.
    LZU_HD static bool isPageFull(Shared const& shared)
    {
        return shared.kept - shared.page > kPAGE - kTAKEN;
    }

    LZU_HD void compare(Shared& shared, Place place) const
    {
        int const own = place.thread % kTAKEN;
        int const part = place.thread / kTAKEN;
        if (isPageFull(shared))
        {
            strikeRange(shared, place, shared.to, shared.sound);
        }
        if (shared.from == 0 && own == kTAKEN - 1 && part < 2) // threads with few pairs, one for each axis
        {
            layGrid(shared, part);
        }
        if (own >= shared.taken)
        {
            return;
        }
        BoxEdges const box = shared.boxes[own];
        int const label = shared.labels[own];
        for (int word = part; word * 32 < shared.taken; word += kTHREADS / kTAKEN)
        {
            uint32_t bits = 0;
            if (own < word * 32 + 32)
            {
                uint32_t apart = 0;
                LZU_UNROLL(8)
                for (int i = 31; i >= 0; --i)
                {
                    apart = pushSign(apart, areApart(box, shared.boxes[word * 32 + i]));
                }
                uint32_t near = everyPair() ? ~0U : ~apart;
                near &= maskBelow(shared.taken - word * 32) & ~maskBelow(own + 1 - word * 32);
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

    // Lays the grid between the outermost edges of the best candidates.
    LZU_HD static void layGrid(Shared& shared, int axis)
    {
        float const* const edges = reinterpret_cast<float const*>(shared.boxes) + axis;
        float low = edges[0];
        float high = edges[2];
        LZU_UNROLL(8)
        for (int i = 1; i < shared.taken; ++i)
        {
            low = fminf(low, edges[4 * i]);
            high = fmaxf(high, edges[4 * i + 2]);
        }
        shared.origin[axis] = low;
        shared.cellsPerUnit[axis] = static_cast<float>(kCELLS) / (high - low);
    }

    // Greedy, by one thread: the first that is left is kept, what it suppresses is left no more. Others look for cells.
    LZU_HD void choose(Shared& shared, int thread) const
    {
        constexpr int kFIRST = 32; // a warp of its own chooses
        for (int i = thread - kFIRST; i >= 0 && i < kSIDES * kTAKEN; i += kTHREADS - kFIRST)
        {
            int const side = i / kTAKEN;
            int const own = i % kTAKEN;
            if (own < shared.taken)
            {
                float const edge = reinterpret_cast<float const*>(shared.boxes)[4 * own + side];
                shared.cells[side][own] = static_cast<unsigned char>(cellOf(shared, side % 2, edge));
            }
        }
        if (thread != 0)
        {
            return;
        }
        uint32_t left[kTAKEN_WORDS];
        LZU_UNROLL(kTAKEN_WORDS)
        for (int word = 0; word < kTAKEN_WORDS; ++word)
        {
            left[word] = maskBelow(shared.taken - word * 32);
        }
        int const room = call.max_detections - shared.kept;
        int count = 0;
        LZU_UNROLL(kTAKEN_WORDS)
        for (int word = 0; word < kTAKEN_WORDS; ++word)
        {
            while (left[word] != 0 && count < room)
            {
                int const own = word * 32 + lowestBit(left[word]);
                shared.chosen[count++] = own;
                left[word] &= left[word] - 1U;
                LZU_UNROLL(kTAKEN_WORDS)
                for (int other = word; other < kTAKEN_WORDS; ++other)
                {
                    left[other] &= ~shared.suppresses[own][other];
                }
            }
        }
        shared.page = isPageFull(shared) ? shared.kept : shared.page;
        shared.keptBefore = shared.kept;
        shared.kept += count;
    }

    // Whether the round keeps so many boxes.
    LZU_HD static bool isKept(Shared const& shared, int number)
    {
        return number < shared.kept - shared.keptBefore;
    }

    LZU_HD void write(Shared& shared, Place place) const
    {
        static_assert(kTAKEN <= kTHREADS, "a thread writes a box");
        if (isKept(shared, place.thread))
        {
            int const own = shared.chosen[place.thread];
            int64_t const at = keptOf(place) + shared.keptBefore + place.thread;
            reinterpret_cast<BoxEdges*>(call.kept_boxes)[at] = shared.boxes[own];
            call.kept_labels[at] = shared.labels[own];
        }
        static_assert(kSIDES * kCELLS <= kTHREADS, "a thread writes the bits of a cell");
        if (place.thread < kSIDES * kCELLS)
        {
            writeBits(shared, place.thread / kCELLS, place.thread % kCELLS);
        }
        if (place.thread == 0)
        {
            call.kept_count[place.block] = shared.kept;
        }
    }

    // Adds the boxes that this round keeps to the bits of a column or row: by sign bits, the last of a word first.
    LZU_HD static void writeBits(Shared& shared, int side, int cell)
    {
        int const start = shared.keptBefore - shared.page;
        int const end = shared.kept - shared.page;
        int const sign = side < 2 ? 1 : -1; // boxes that begin no later than in this cell, or end no earlier
        LZU_UNROLL(1)
        for (int first = start / 32 * 32; first < end; first += 32)
        {
            KeptBits& near = shared.near[first / 128][side][cell];
            int const word = first % 128 / 32;
            int const low = first < start ? start : first;
            int const high = end < first + 32 ? end : first + 32;
            uint32_t bits = 0;
            LZU_UNROLL(8)
            for (int i = high - 1; i >= low; --i)
            {
                bits = pushSign(bits, sign * (shared.cells[side][shared.chosen[i - start]] - cell) - 1);
            }
            near.words[word] = (low > first ? near.words[word] : 0) | bits << (low % 32);
            LZU_UNROLL(1)
            for (int later = word + 1; later < 4 && low == first; ++later)
            {
                near.words[later] = 0;
            }
        }
    }

    // Strikes out those candidates of a range that a box that there are bits of suppresses.
    LZU_HD void strikeRange(Shared& shared, Place place, int from, int to) const
    {
        BoxEdges const* const boxes = space.boxes + candidatesOf(place);
        int const* const labels = space.labels + candidatesOf(place);
        for (int at = from + place.thread; at < to && at < shared.sound; at += kTHREADS)
        {
            if (isSuppressed(shared, place, boxes[at], labels[at]))
            {
                setBits(shared.struck[at / 32], 1U << (at % 32));
            }
        }
    }

    LZU_HD void strike(Shared& shared, Place place) const
    {
        bool const writes = isKept(shared, place.thread); // a score, which is under way meanwhile
        float const score
            = writes ? space.scores[candidatesOf(place) + shared.places[shared.chosen[place.thread]]] : 0.0F;
        if (shared.kept < call.max_detections)
        {
            strikeRange(shared, place, shared.to, shared.to + kWINDOW);
        }
        if (writes)
        {
            call.kept_scores[keptOf(place) + shared.keptBefore + place.thread] = score;
        }
        if (place.thread == 0)
        {
            shared.from = shared.to; // of the next round
            shared.taken = 0;
        }
    }
};

} // namespace lzu
