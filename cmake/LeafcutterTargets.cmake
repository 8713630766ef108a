# Flags that hold for every target, and leafcutter_library(): one static library per folder, its sources found by name.

# Clang warns of what libstdc++ 12 does within std::stable_sort, GCC of its copies of strings.
# Sums must come out the same however a function is inlined: the compiler may not fuse or reorder floating-point operations.
add_library(leafcutter_flags INTERFACE)
target_compile_options(leafcutter_flags INTERFACE -Wall -Wextra -Wpedantic -Wshadow $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>
                       $<$<CXX_COMPILER_ID:Clang>:-Wno-deprecated-declarations> -ffp-contract=off)
target_include_directories(leafcutter_flags INTERFACE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include)
target_link_libraries(leafcutter_flags INTERFACE)
if(LEAFCUTTER_SANITIZE)
  target_compile_options(leafcutter_flags INTERFACE -fsanitize=${LEAFCUTTER_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(leafcutter_flags INTERFACE -fsanitize=${LEAFCUTTER_SANITIZE})
endif()

# One file per instruction set: *_avx2.cpp, *_avx512.cpp, *_amx.cpp; everything else is for any x86-64. GCC 12 takes its own AVX-512 headers for uses of uninitialised values.
function(leafcutter_isa_flags)
  foreach(source ${ARGN})
    if(source MATCHES "_avx2\\.cpp$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "-mavx2;-mfma;-mf16c")
    elseif(source MATCHES "_(avx512|amx)\\.cpp$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "-mavx512f;-mavx512bw;-mavx512vl;-mavx512dq;-mavx512vnni;-mavx2;-mfma;-mf16c;$<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>;-Wno-uninitialized")
    endif()
    if(source MATCHES "_amx\\.cpp$")
      set_property(SOURCE ${source} APPEND PROPERTY COMPILE_OPTIONS "-mamx-tile;-mamx-int8")
    endif()
  endforeach()
endfunction()

# leafcutter_unity(TARGET BATCHES): with LEAFCUTTER_UNITY the target's files are compiled BATCHES times many at once, since the headers they share cost more than most of them. Files with flags of their own stay alone.
function(leafcutter_unity target batches)
  if(NOT LEAFCUTTER_UNITY)
    return()
  endif()
  set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_MODE GROUP)
  # GCC takes files that are included for headers, where types of unnamed namespaces would be mistakes.
  target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-Wno-subobject-linkage>)
  get_target_property(sources ${target} SOURCES)
  set(next 0)
  foreach(source ${sources})
    get_source_file_property(group ${source} UNITY_GROUP)
    if(source MATCHES "\\.cpp$" AND NOT group)
      set_source_files_properties(${source} PROPERTIES UNITY_GROUP batch${next})
      math(EXPR next "(${next} + 1) % ${batches}")
    endif()
  endforeach()
endfunction()

# leafcutter_apart(FILES...): files that use the same names in their unnamed namespaces, one for each batch of leafcutter_unity, which is called after.
function(leafcutter_apart)
  set(next 0)
  foreach(source ${ARGN})
    set_source_files_properties(${CMAKE_CURRENT_SOURCE_DIR}/${source} PROPERTIES UNITY_GROUP batch${next})
    math(EXPR next "${next} + 1")
  endforeach()
endfunction()

# leafcutter_library(NAME folder-libraries-and-packages...): static library leafcutter_NAME from NAME/*.cpp.
function(leafcutter_library name)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
  if(NOT sources)
    add_library(leafcutter_${name} INTERFACE)
    target_link_libraries(leafcutter_${name} INTERFACE leafcutter_flags ${ARGN})
    return()
  endif()
  leafcutter_isa_flags(${sources})
  add_library(leafcutter_${name} STATIC ${sources})
  set_target_properties(leafcutter_${name} PROPERTIES POSITION_INDEPENDENT_CODE ON)
  target_link_libraries(leafcutter_${name} PUBLIC leafcutter_flags ${ARGN})
  # What the fuzzers are led by: the branches of readers and tokenizers, not those of kernels.
  if(LEAFCUTTER_FUZZ AND name MATCHES "^(base|compress|runtime)$")
    target_compile_options(leafcutter_${name} PRIVATE -fsanitize=fuzzer-no-link)
  endif()
endfunction()

# Code that computes: ./check compiles with sanitizers at -O1, this at -O2.
function(leafcutter_hot target)
  if(LEAFCUTTER_SANITIZE)
    target_compile_options(${target} PRIVATE $<$<CONFIG:RelWithDebInfo>:-O2>)
  endif()
endfunction()

# Code whose own time counts for nothing: unoptimised with sanitizers, which compiles twice as fast.
function(leafcutter_idle target)
  if(LEAFCUTTER_SANITIZE)
    target_compile_options(${target} PRIVATE $<$<CONFIG:RelWithDebInfo>:-O0>)
  endif()
endfunction()

# Code that nothing waits for: a third less time to compile it, half of it with sanitizers.
function(leafcutter_not_hot target)
  target_compile_options(${target} PRIVATE $<$<CONFIG:Release>:-O1> "$<$<CONFIG:RelWithDebInfo>:-O1;-g1>")
endfunction()
