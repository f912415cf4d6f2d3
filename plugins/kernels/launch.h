// Runs a kernel on a CUDA device, or, compiled by a plain C++ compiler, block by block on the host.
//
// A kernel is a trivially copyable struct with
//   kTHREADS                                   threads of a block,
//   Shared                                     what the threads of a block share,
//   bool more(Shared const&, int phase) const  whether there is a phase of this number (see Phases and Rounds),
//   void run(Shared&, Place, int phase) const  one thread's part of a phase.
// Between two phases all threads of a block meet, so a phase may read what earlier ones wrote to Shared. `more` may
// read only what the phase asked about does not write. Phases keep the host's side down to two loops.
#pragma once

#include "portable.h"

#if defined(__CUDACC_RTC__)
#elif defined(__CUDACC__)
#include <cuda_runtime.h>
#else
#include <memory>
#include <type_traits>
#endif

namespace lzu
{

struct Place
{
    int block;
    int thread;
};

// The base of a kernel that always has this many phases. The compiler lays them out one after the other.
template <int COUNT>
struct Phases
{
    static constexpr int kPHASES = COUNT;

    template <class Shared>
    LZU_HD bool more(Shared const& /*shared*/, int phase) const
    {
        return phase < COUNT;
    }
};

// The base of a kernel that begins with phase 0 and repeats phases 1 to COUNT while `bool again(Shared const&) const`
// holds. The first phase of a round may not write what `again` reads. The compiler lays out a round's phases one after
// the other.
template <int COUNT>
struct Rounds
{
    static constexpr int kROUND = COUNT;
};

// Threads of a block. The host takes them one after the other, so that each costs time and a few are enough to show
// what they share.
#if defined(__CUDACC__)
constexpr int kMOST_THREADS = 256;
#else
constexpr int kMOST_THREADS = 8;
#endif

// The number of phases of a kernel's rounds, or 0 where it has none.
template <class Kernel>
LZU_HD constexpr auto roundOf(int /*preferred*/) -> decltype(Kernel::kROUND + 0)
{
    return Kernel::kROUND;
}

template <class Kernel>
LZU_HD constexpr int roundOf(...)
{
    return 0;
}

#if defined(__CUDACC__)

// The number of a kernel's phases, or 0 where `more` or `again` decides.
template <class Kernel>
__host__ __device__ constexpr auto phasesOf(int /*preferred*/) -> decltype(Kernel::kPHASES + 0)
{
    return Kernel::kPHASES;
}

template <class Kernel>
__host__ __device__ constexpr int phasesOf(...)
{
    return 0;
}

// At least 512 threads of a multiprocessor stay possible. Without the second bound the compiler chases a higher
// occupancy and spills for it.
template <class Kernel>
__global__ void __launch_bounds__(Kernel::kTHREADS, Kernel::kTHREADS < 512 ? 512 / Kernel::kTHREADS : 1)
    runKernel(__grid_constant__ const Kernel kernel)
{
    __shared__ typename Kernel::Shared shared;
    Place const place{static_cast<int>(blockIdx.x), static_cast<int>(threadIdx.x)};
    constexpr int kFIXED = phasesOf<Kernel>(0);
    constexpr int kROUND = roundOf<Kernel>(0);
    if constexpr (kFIXED > 0)
    {
        LZU_UNROLL(16)
        for (int phase = 0; phase < kFIXED; ++phase)
        {
            if (phase > 0)
            {
                __syncthreads();
            }
            kernel.run(shared, place, phase);
        }
    }
    else if constexpr (kROUND > 0)
    {
        kernel.run(shared, place, 0);
        __syncthreads();
        while (kernel.again(shared))
        {
            LZU_UNROLL(16)
            for (int phase = 1; phase <= kROUND; ++phase)
            {
                kernel.run(shared, place, phase);
                __syncthreads();
            }
        }
    }
    else
    {
        for (int phase = 0; kernel.more(shared, phase); ++phase)
        {
            kernel.run(shared, place, phase);
            __syncthreads();
        }
    }
}

#endif

#if defined(__CUDACC_RTC__)
#elif defined(__CUDACC__)

template <class Kernel>
int launch(Kernel const& kernel, int blocks, void* stream)
{
    if (blocks > 0)
    {
        runKernel<Kernel><<<blocks, Kernel::kTHREADS, 0, static_cast<cudaStream_t>(stream)>>>(kernel);
    }
    return static_cast<int>(cudaGetLastError());
}

#else

// Whether a block goes on with a phase, counted through all rounds.
template <class Kernel>
bool goesOn(Kernel const& kernel, typename Kernel::Shared const& shared, int phase)
{
    if constexpr (roundOf<Kernel>(0) > 0)
    {
        return phase == 0 || (phase - 1) % roundOf<Kernel>(0) != 0 || kernel.again(shared);
    }
    else
    {
        return kernel.more(shared, phase);
    }
}

template <class Kernel>
int launch(Kernel const& kernel, int blocks, void* /*stream*/)
{
    static_assert(std::is_trivially_copyable<typename Kernel::Shared>::value, "shared memory has no constructors");
    auto const storage = std::make_unique<typename Kernel::Shared>();
    for (int block = 0; block < blocks; ++block)
    {
        // Shared memory starts with arbitrary contents, on the host too, where a test can see who reads it.
        std::memset(static_cast<void*>(storage.get()), 0xA5, sizeof(typename Kernel::Shared));
        for (int phase = 0; goesOn(kernel, *storage, phase); ++phase)
        {
            constexpr int kROUND = roundOf<Kernel>(0);
            int const number = kROUND > 0 && phase > 0 ? (phase - 1) % kROUND + 1 : phase;
            for (int thread = 0; thread < Kernel::kTHREADS; ++thread)
            {
                kernel.run(*storage, Place{block, thread}, number);
            }
        }
    }
    return 0;
}

#endif

} // namespace lzu
