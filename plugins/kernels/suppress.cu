// Launcher of the suppression. A plain C++ compiler makes the host build of this file.
#include "lzu_kernels.h"
#include "suppress.h"

namespace
{

constexpr size_t kBYTES_PER_CANDIDATE = sizeof(lzu::BoxEdges) + sizeof(float) + 2 * sizeof(int);

// Up to so many candidates are ranked in 15 KiB of shared memory, more of them in 32 KiB.
constexpr int kUSUAL_CANDIDATES = 3840;

template <int MOST>
int rankWith(LzuSuppress const& call, lzu::Sorted const& sorted, void* stream)
{
    lzu::RankCandidates<MOST> rank{};
    rank.call = call;
    rank.sorted = sorted;
    rank.blocksPerImage = lzu::ceilDiv(call.candidates, lzu::RankCandidates<MOST>::kTHREADS);
    return lzu::launch(rank, rank.blocksPerImage * call.batch, stream);
}

} // namespace

extern "C" size_t lzu_suppress_workspace(int32_t batch, int32_t candidates)
{
    return batch < 1 || candidates < 1
               ? 0
               : static_cast<size_t>(batch) * static_cast<size_t>(candidates) * kBYTES_PER_CANDIDATE;
}

extern "C" int32_t lzu_suppress(LzuSuppress const* call, void* stream)
{
    if (call == nullptr || call->batch < 1 || call->candidates < 1 || call->candidates > LZU_MOST_CANDIDATES
        || call->max_detections < 1 || (call->label_bytes != 4 && call->label_bytes != 8) || call->workspace == nullptr)
    {
        return LZU_INVALID;
    }
    int64_t const total = static_cast<int64_t>(call->batch) * call->candidates;
    lzu::Sorted sorted{};
    sorted.boxes = static_cast<lzu::BoxEdges*>(call->workspace);
    sorted.scores = reinterpret_cast<float*>(sorted.boxes + total);
    sorted.labels = reinterpret_cast<int*>(sorted.scores + total);
    sorted.sound = sorted.labels + total;

    int const failed = call->candidates <= kUSUAL_CANDIDATES ? rankWith<kUSUAL_CANDIDATES>(*call, sorted, stream)
                                                             : rankWith<LZU_MOST_CANDIDATES>(*call, sorted, stream);
    if (failed != 0)
    {
        return failed;
    }

    lzu::KeepBoxes keep{};
    keep.call = *call;
    keep.sorted = sorted;
    return lzu::launch(keep, call->batch, stream);
}
